output "store" {
  description = "FRETSAW_STORE."
  value       = "s3://${aws_s3_bucket.store.id}/${var.prefix}"
}

output "policies" {
  description = "ARN of each part's policy."
  value       = { for part, policy in aws_iam_policy.store : part => policy.arn }
}
