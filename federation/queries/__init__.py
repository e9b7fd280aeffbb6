"""The language of joint questions, version 2: total expressions, bounded plans, priced answers."""
