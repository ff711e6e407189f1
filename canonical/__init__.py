"""What the business means, and every decision about it. Pure: no network, no database, no clock, no Prefect."""
