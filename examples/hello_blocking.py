"""A caller of that task without an event loop."""

from headworks_client import SyncSchedulerClient
from hello_task import greet

with SyncSchedulerClient("127.0.0.1:50052") as client:
    job = client.submit_task(greet, name="world", times=2)
    print(job.name, job.result(timeout_s=30))
