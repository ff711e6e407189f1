"""Slack as a place where incidents are told: by incoming webhook, or by a bot's token.

connector.py   the Notifier role
message.py     a title and lines as Slack's blocks, escaped and within Slack's sizes
"""

from connectors.slack.connector import Slack, build

__all__ = ["Slack", "build"]
