"""The directive ``picture``: an SVG drawn while the site is built, of numbers computed then."""

import drawings
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class Picture(Directive):
    """One of the functions of `drawings`, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The picture, as HTML that takes the theme's colours."""
        name = self.arguments[0]
        draw = drawings.PICTURES.get(name)
        if draw is None:
            raise self.error(f"no picture {name!r}: there are {', '.join(drawings.PICTURES)}")
        return [nodes.raw("", draw(), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
