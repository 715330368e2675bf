"""The filters of cleaning, one file each."""
