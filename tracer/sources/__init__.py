"""Ways to see zombies: core, bcc and proc, behind the protocol records.Source."""
