"""What a page holds and does not show: it is where instructions to language models are hidden.

What style sheets and scripts hide is not seen here, for neither is read.
"""

from __future__ import annotations

import re

from lxml.etree import XPath, strip_elements
from lxml.html import HtmlElement

from rag.text.invisible import has_invisible, without_invisible

_UNSHOWN = ("script", "style", "template", "noscript")
# A page that is hidden as a whole until a script has run is shown in the end.
_MARKED = XPath(
    "//*[@hidden or translate(@aria-hidden, 'TRUE', 'true') = 'true']"
    "[not(self::html or self::body)]"
)
_STYLED = XPath("//*[@style][not(self::html or self::body)]")

_NOT_IN_STYLE = re.compile(r"/\*.*?(?:\*/|\Z)|\s|!important", re.DOTALL | re.IGNORECASE)
_ZERO = r"(?:0+(?:\.0*)?|\.0+)(?:[a-z]+|%)?"
_FAR = r"-(?:(?:9\d\d|\d{4,})(?:\.\d+)?px|\d{3,}(?:\.\d+)?(?:r?em|ch|%|v[wh]))"
_HIDING = {
    name: re.compile(values)
    for names, values in {
        "display": "none",
        "content-visibility": "hidden",
        "opacity": rf"0*\.0\d*%?|{_ZERO}",
        "top right bottom left margin margin-top margin-left text-indent": rf".*{_FAR}.*",
        "transform": (
            rf".*(?:scale(?:x|y|3d)?\({_ZERO}[,)]|translate(?:x|y|3d)?\((?:[^()]*,)?{_FAR}).*"
        ),
        "clip": r"rect\((?:[01](?:px)?,?){4}\)",
        "clip-path": rf"inset\((?:50|100)%.*|circle\({_ZERO}.*",
    }.items()
    for name in names.split()
}
# Elements inside can undo these for themselves.
_INHERITED = {
    "font-size": re.compile(rf"{_ZERO}|(?:0*\.\d+|0*1(?:\.\d*)?)p[xt]"),
    "visibility": re.compile("hidden|collapse"),
}
_SIZES = frozenset(["height", "width", "max-height", "max-width"])

Style = list[tuple[str, str]]
"""Properties and their values, in lower case."""


def drop_hidden(tree: HtmlElement) -> None:
    """Drop from a page what it does not show: elements that are hidden, and invisible characters.

    An element is hidden by what it is (a script), by an attribute (`hidden`, `aria-hidden`), or by
    its own style: neither displayed nor visible, transparent, of no size, or outside of the page.
    """
    strip_elements(tree, *_UNSHOWN, with_tail=False)
    for element in _STYLED(tree):
        style = _style(element)
        if _is_hiding(style):
            element.drop_tree()
        for name, hiding in _INHERITED.items():
            if any(name == other and hiding.fullmatch(value) for other, value in style):
                _blank(element, name)
    for element in _MARKED(tree):
        element.drop_tree()
    for element in tree.iter() if has_invisible(tree.text_content()) else ():
        element.text = element.text and without_invisible(element.text)
        element.tail = element.tail and without_invisible(element.tail)


def _style(element: HtmlElement) -> Style:
    squeezed = _NOT_IN_STYLE.sub("", element.get("style")).lower()
    declarations = (declaration.partition(":") for declaration in squeezed.split(";"))
    return [(name, value) for name, _, value in declarations]


def _is_hiding(style: Style) -> bool:
    nothing = any(name in _SIZES and re.fullmatch(_ZERO, value) for name, value in style)
    return (nothing and ("overflow", "hidden") in style) or any(
        name in _HIDING and _HIDING[name].fullmatch(value) for name, value in style
    )


def _blank(element: HtmlElement, name: str) -> None:
    """Drop the text of an element that has a property, and of those inside that inherit it."""
    element.text = None
    for child in element:
        if not (child.get("style") and any(name == other for other, _ in _style(child))):
            _blank(child, name)
        child.tail = None
