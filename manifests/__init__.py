"""Which device runs which release: device messages, repository, server, updater."""
