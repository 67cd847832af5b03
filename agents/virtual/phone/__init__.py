"""A virtual Android phone: docs/virtual-phone.md."""
