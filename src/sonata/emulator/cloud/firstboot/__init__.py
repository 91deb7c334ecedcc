"""What a server is told when it boots: metadata, config drive, user data, and the interpreter that follows them."""
