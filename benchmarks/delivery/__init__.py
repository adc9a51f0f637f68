"""From a commit to an image, and from a file to a run."""

from __future__ import annotations

from benchmarks.delivery import commits, files

TITLE = "Delivery, beside buildah and KFP's own client"
ABOUT = """
The commit changes the code of one step with pandas and scikit-learn, in a repository that `%kfp_export` wrote;
`kfp-magics ci run --since HEAD^` is a new process, as in the hook and in a workflow, and ends when the image is in
the registry on this machine. buildah builds the same folder by the Dockerfile that lies in it, its layers cached, and
pushes. The new file is put into a folder that `kfp-magics cd watch` watches; it counts until the run is in the store.
Its peer is the loop that one would write: `watchfiles`, and `kfp.Client` that submits to a server of the tests, until
the server has answered.
"""
BENCHMARKS = (commits.measure, files.measure)
