"""How each kind of system is spoken to: one folder a kind, over shared HTTP, paging and authentication.

protocol.py   the roles (Source, Target, Notifier), records as columns, errors that say what to do next
registry.py   which kinds there are: a folder with `build(context)` and `defaults.yaml` joins by existing
http/         one request, one outcome: deadlines, byte caps, allowlists, rates
paging/       bodies into raw records, walks from page to page
auth.py       credentials
oauth.py      credentials that end and are renewed; tokens.py says where they are kept
"""
