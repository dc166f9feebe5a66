"""One thread that does what has to be done every now and then."""
