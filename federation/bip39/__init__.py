"""The English word list of BIP-39: 2,048 words that differ in their first four letters.

`english.txt` is unchanged from python-mnemonic 0.21, whose licence (MIT) stands beside it.
"""
