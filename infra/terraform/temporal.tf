resource "temporalcloud_namespace" "fretsaw" {
  count              = var.temporal_namespace == null ? 0 : 1
  name               = var.temporal_namespace
  regions            = [var.temporal_region]
  retention_days     = var.retention_days
  accepted_client_ca = var.temporal_client_ca == null ? null : base64encode(var.temporal_client_ca)
  api_key_auth       = var.temporal_client_ca == null
}

# The same list as infra/temporal/namespace.sh.
resource "temporalcloud_namespace_search_attribute" "fretsaw" {
  for_each = var.temporal_namespace == null ? {} : {
    FretsawSpec   = "keyword"
    FretsawCommit = "keyword"
    FretsawState  = "keyword"
    FretsawKinds  = "keyword_list"
    FretsawPools  = "keyword_list"
    FretsawOwner  = "keyword"
  }
  namespace_id = temporalcloud_namespace.fretsaw[0].id
  name         = each.key
  type         = each.value
}
