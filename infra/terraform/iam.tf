# One policy for each part that reads or writes the store; who may do what stands in infra/iam.
locals {
  parts = toset(["gpu-worker", "control-worker", "reader", "upkeep"])
}

resource "aws_iam_policy" "store" {
  for_each = local.parts
  name     = "${var.bucket}-${each.key}"
  policy = replace(
    replace(file("${path.module}/../iam/${each.key}.json"), "BUCKET", var.bucket),
    "PREFIX", var.prefix
  )
}
