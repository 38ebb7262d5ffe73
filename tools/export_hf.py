"""Writes a bundle as a folder that Hugging Face transformers loads with from_pretrained."""

import argparse

from sqb_tools import cli


def main(args: argparse.Namespace) -> int:
    from sqb_tf.checkpoint.hugging_face import export_folder

    files = export_folder(args.model, args.output)
    result = {"folder": args.output, "model": args.model, "files": files}
    cli.emit(args, f"folder {args.output}\nfiles  {', '.join(files)}", result)
    return cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__)
    made.add_argument("--model", required=True, metavar="DIR", help="the bundle")
    made.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
