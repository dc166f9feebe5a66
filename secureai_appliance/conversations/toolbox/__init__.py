"""Tools that the appliance itself runs: which there are, how they are called, and what keeps them in bounds."""
