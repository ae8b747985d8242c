{{- define "fretsaw.labels" -}}
app.kubernetes.io/name: fretsaw
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "fretsaw.selector" -}}
app.kubernetes.io/name: fretsaw
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "fretsaw.env" -}}
- { name: FRETSAW_CONTROL, value: shared }
- { name: FRETSAW_HOME, value: {{ .Values.home.path | quote }} }
- { name: FRETSAW_STORE, value: {{ required "store: s3://bucket/prefix" .Values.store | quote }} }
- { name: FRETSAW_HEALTH_PORT, value: "8080" }
- { name: TEMPORAL_ADDRESS, value: {{ required "temporal.address: host:port" .Values.temporal.address | quote }} }
- { name: TEMPORAL_NAMESPACE, value: {{ .Values.temporal.namespace | quote }} }
{{- if .Values.temporal.tlsSecret }}
- { name: TEMPORAL_TLS, value: "true" }
- { name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /etc/fretsaw/tls/ca.crt }
- { name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /etc/fretsaw/tls/tls.crt }
- { name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /etc/fretsaw/tls/tls.key }
{{- end }}
{{- if .Values.temporal.apiKeySecret }}
- name: TEMPORAL_API_KEY
  valueFrom: { secretKeyRef: { name: {{ .Values.temporal.apiKeySecret }}, key: apiKey } }
{{- end }}
{{- end -}}

{{/* A worker's pod: `args` after the program's name. A rollout waits for jobs of nobody: they go on without their worker. */}}
{{- define "fretsaw.pod" -}}
serviceAccountName: {{ .root.Release.Name }}-{{ .account }}
automountServiceAccountToken: {{ .token }}
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
containers:
  - name: worker
    image: {{ required "image" .image | quote }}
    command: [node, /opt/fretsaw/dist/fretsaw.js]
    imagePullPolicy: {{ .root.Values.imagePullPolicy }}
    args: {{ .args | toJson }}
    env:
      {{- include "fretsaw.env" .root | nindent 6 }}
      {{- range $name, $value := .extraEnv }}
      - { name: {{ $name }}, value: {{ $value | quote }} }
      {{- end }}
    {{- if .root.Values.credentialsSecret }}
    envFrom:
      - secretRef: { name: {{ .root.Values.credentialsSecret }} }
    {{- end }}
    ports:
      - { name: health, containerPort: 8080 }
    startupProbe: { httpGet: { path: /readyz, port: health }, periodSeconds: 5, failureThreshold: 24 }
    livenessProbe: { httpGet: { path: /livez, port: health }, periodSeconds: 20, failureThreshold: 3 }
    readinessProbe: { httpGet: { path: /readyz, port: health }, periodSeconds: 10 }
    resources: {{ .resources | toJson }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    volumeMounts:
      - { name: home, mountPath: {{ .root.Values.home.path | quote }} }
      - { name: tmp, mountPath: /tmp }
      {{- if .root.Values.temporal.tlsSecret }}
      - { name: tls, mountPath: /etc/fretsaw/tls, readOnly: true }
      {{- end }}
volumes:
  - name: home
    persistentVolumeClaim: { claimName: {{ required "home.claim" .root.Values.home.claim | quote }} }
  - { name: tmp, emptyDir: {} }
  {{- if .root.Values.temporal.tlsSecret }}
  - name: tls
    secret: { secretName: {{ .root.Values.temporal.tlsSecret }}, defaultMode: 0440 }
  {{- end }}
{{- end -}}
