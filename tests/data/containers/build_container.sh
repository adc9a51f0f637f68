#!/bin/bash
# Builds one container folder of this repository on Cloud Build; each folder's build.sh calls it with its own name.
set -euo pipefail
container=$1
directory=$(git rev-parse --show-prefix)
gcloud builds submit "$(git rev-parse --show-toplevel)" --config cloudbuild.yaml \
  --substitutions "_DIR_IN_REPO=${directory%/},_CONTAINER_NAME=${container}"
