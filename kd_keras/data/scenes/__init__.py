"""Generated recordings to try the whole product on."""
