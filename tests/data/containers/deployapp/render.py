import os
import pathlib
import string
import sys

options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
template = string.Template(pathlib.Path("templates/index.html").read_text())
page = template.substitute(title=os.environ["GREETING"], version=options["--version"])
pathlib.Path(options["--page"]).write_text(page)
