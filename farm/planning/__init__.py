"""What a submission comes to before anything is queued: devices that match, jobs, builds."""
