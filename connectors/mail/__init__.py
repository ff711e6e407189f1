"""E-mail as a place where incidents are told: SMTP over TLS, to the owners and to a mailbox of the team.

connector.py   the Notifier role
dialogue.py    one conversation with the server: to a checked address, encrypted, ended by a deadline
message.py     a title and lines as an e-mail that nobody can smuggle anything into
"""

from connectors.mail.connector import Mail, build

__all__ = ["Mail", "build"]
