terraform {
  required_version = ">= 1.9"
  required_providers {
    aws           = { source = "hashicorp/aws", version = "~> 6.0" }
    temporalcloud = { source = "temporalio/temporalcloud", version = "~> 1.0" }
  }
}
