"""What is asked of the farm against what it knows: models that are taken in, and what a submission comes to before
anything is queued: devices that match, jobs, builds."""
