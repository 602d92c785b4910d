"""The console: a web page that shows a whole installation at work, and lets who has the token mend it.

Reads as the command line does and changes things through the same operations, each with its row in the audit.
Without a token nothing can be changed; with one, only by a call that the page itself made.
"""
