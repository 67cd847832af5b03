"""What the farm tells Prometheus: state, which it scrapes, and results, which are pushed to it (docs/adr/0003)."""
