"""Plans of joint questions over a node's own rows."""
