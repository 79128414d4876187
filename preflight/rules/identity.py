"""Who may become whom: service accounts, roles, trust policies, attachments, and the charts that run under them."""
