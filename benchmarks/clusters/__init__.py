"""What servers cost, and what we cost servers."""

from __future__ import annotations

from benchmarks.clusters import polling, submitting

TITLE = "Servers, beside KFP's own client"
ABOUT = """
The servers are those of the tests, which answer at once, in the shapes of KFP's API and in Vertex AI's own messages:
what is measured is ours and the client's alone. Submitting is the same compiled pipeline on the same KFP server, in a
process that has done it before: `%kfp_run` with everything it does (it says per step what will run and why, keeps
what was started, and starts it once even if answers get lost) beside `kfp.Client.create_run_from_pipeline_package`.
Polling is counted at the server, once, for 30 seconds from the first question on, while 200 runs go on and are looked
at as a Jupyter server does; beside it stands `wait_for_run_completion` for each of them.
"""
BENCHMARKS = (submitting.measure, polling.measure)
