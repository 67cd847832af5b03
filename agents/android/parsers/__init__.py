"""Text from phones into values. Pure: no device, no clock, no files.

Every parser takes any text at all, raises nothing, and gives values or ``Absent`` with the reason. What can be missing
piece by piece is None in the value, with the reason in its ``absent``; records that make no sense are left out one at a
time, and ``rejected`` says which. Formats are those of AOSP and of what vendors were seen to print.
"""
