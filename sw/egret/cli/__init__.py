"""The `egret` command: one module per subcommand, gathered in `egret.cli.main`."""
