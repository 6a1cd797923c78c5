"""`edgepose config`: the configuration in effect, its schema, and files of earlier versions."""

from __future__ import annotations

import argparse
import json

from edgepose.config.loading import effective_yaml, read_config
from edgepose.config.migrations import migrate_file
from edgepose.config.schema import config_schema
from edgepose.system.arguments import add_config_argument, config_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Shows, describes and updates configuration files. `edgepose init` writes a new one."
    parser.epilog = (
        "examples:\n  edgepose config show\n  edgepose config schema > edgepose.schema.json\n"
        "  edgepose config migrate -c edgepose.yaml --dry-run"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the configuration in effect, with all defaults")
    show.description = "Prints the configuration in effect, with all defaults. Passwords stay in their own files."
    add_config_argument(show)
    schema = actions.add_parser("schema", help="print the JSON Schema of the file")
    schema.description = "Prints the JSON Schema of the file, for editors that complete and check YAML."
    migrate = actions.add_parser("migrate", help="rewrite a file of an earlier version")
    migrate.description = "Rewrites a file of an earlier version, keeps the old one beside it, and shows the changes."
    add_config_argument(migrate)
    for action, words in ((show, "show"), (schema, "schema > edgepose.schema.json"), (migrate, "migrate --dry-run")):
        action.epilog = f"example:\n  edgepose config {words}"
    migrate.add_argument("--dry-run", action="store_true", help="only show what would change")


def run(args: argparse.Namespace) -> int:
    if args.action == "schema":
        print(json.dumps(config_schema(), indent=2))
        return 0
    path = config_path(args.config)
    config = read_config(path)  # migrated or not, it must be a valid configuration
    print(effective_yaml(config) if args.action == "show" else migrate_file(path, dry=args.dry_run), end="")
    return 0
