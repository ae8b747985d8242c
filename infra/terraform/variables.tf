variable "bucket" {
  description = "Name of the store's bucket."
  type        = string
}

variable "prefix" {
  description = "The store lies below this prefix: FRETSAW_STORE is s3://<bucket>/<prefix>."
  type        = string
  default     = "store"
}

variable "locked_days" {
  description = "Days in which no version of an object can be deleted, not by the account's root either (COMPLIANCE)."
  type        = number
  default     = 30
}

variable "old_versions_days" {
  description = "Days after which replaced or deleted versions expire; more than locked_days."
  type        = number
  default     = 60

  validation {
    condition     = var.old_versions_days > var.locked_days
    error_message = "Versions cannot expire while they are locked."
  }
}

variable "kms_key_arn" {
  description = "Key for encryption at rest; null: the bucket's own (SSE-S3)."
  type        = string
  default     = null
}

variable "temporal_namespace" {
  description = "Name of the Temporal Cloud namespace; null: none is made (a self-hosted one: infra/temporal/namespace.sh)."
  type        = string
  default     = null
}

variable "temporal_region" {
  description = "Region of the namespace, as Temporal Cloud names it."
  type        = string
  default     = "aws-eu-central-1"
}

variable "temporal_client_ca" {
  description = "PEM of the authority that signs clients' certificates (mTLS); null: API keys."
  type        = string
  default     = null
}

variable "retention_days" {
  description = "How long Temporal remembers runs that have ended. The store remembers them for good."
  type        = number
  default     = 30
}
