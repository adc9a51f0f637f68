"""Who may do what on Google Cloud: found in the steps of a notebook, as commands, as Terraform, or done."""
