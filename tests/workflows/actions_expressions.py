"""GitHub's expressions: what stands between `${{` and `}}`, and in an `if`.

Stricter than GitHub in one thing: a property that a context cannot have is an error, and names
are as they are written, so that a typing error in a workflow fails its test.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Contexts = Mapping[str, Any]
Functions = Mapping[str, Callable]

EXPRESSION = re.compile(r"\$\{\{((?:[^'}]|'[^']*'|\}(?!\}))*)\}\}")
NUMBER = re.compile(r"[-+]?(?:0x[\da-fA-F]+|0o[0-7]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
TOKEN = re.compile(
    rf"\s*(?:(?P<number>{NUMBER.pattern})|(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>&&|\|\||[=!<>]=|[!<>().,*\[\]]))"
)
LITERALS = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}
PRECEDENCE = [["||"], ["&&"], ["==", "!="], ["<", "<=", ">", ">="]]  # the weakest first
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
STATUS = {"success", "failure", "always", "cancelled"}


class ExpressionError(ValueError):
    """An expression that GitHub would refuse, or that has a name it would find empty."""


class Known(dict):
    """A context of which every property is known: any other is a typing error."""


class Several(list):
    """What `.*` gives: a property of it is the list of its members' properties."""


def to_text(value: Any) -> str:
    """A value as it stands in a string."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return f"{value:.15g}".replace("inf", "Infinity").replace("nan", "NaN")
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return "Object" if isinstance(value, dict) else "Array"
    raise ExpressionError(f"a value of the type {type(value).__name__}; put it in quotes: {value}")


def to_number(value: Any) -> float:
    if value is None or isinstance(value, (bool, int, float)):
        return value or 0
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    if not NUMBER.fullmatch(text):
        return 0 if not text else LITERALS["Infinity"] if text == "Infinity" else math.nan
    return int(text, 0) if re.search("0[xo]", text) else float(text)


def is_true(value: Any) -> bool:
    return isinstance(value, (dict, list)) or (bool(value) and value == value)


def compare(sign: str, left: Any, right: Any) -> bool:
    """Loosely: of two types by their numbers, strings whatever their case, objects by identity."""
    kinds = [
        next(kind for kind in (bool, (int, float), str, dict, list, object) if isinstance(x, kind))
        for x in (left, right)
    ]
    if kinds[0] is not kinds[1] or left is None:
        left, right = to_number(left), to_number(right)
    elif isinstance(left, str):
        left, right = left.upper(), right.upper()
    elif isinstance(left, (dict, list)):
        left, right = (0, 0) if left is right else (math.nan, math.nan)
    return COMPARISONS[sign](left, right)


def member(value: Any, key: Any) -> Any:
    """A property or an item; null where there is none."""
    if isinstance(value, Several):
        return Several(found for item in value if (found := member(item, key)) is not None)
    if isinstance(value, Known) and key not in value:
        raise ExpressionError(f"{key!r} is not one of {sorted(value)}")
    if isinstance(value, dict):
        return value.get(to_text(key))
    if isinstance(value, list) and 0 <= to_number(key) < len(value):
        return value[int(to_number(key))]
    return None


def contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(compare("==", item, what) for item in where)
    return to_text(what).lower() in to_text(where).lower()


def formatted(pattern: str, *values: Any) -> str:
    def part(match: re.Match) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if not match[1] or int(match[1]) >= len(values):
            raise ExpressionError(f"format({pattern!r}) with {len(values)} values: {match[0]!r}")
        return to_text(values[int(match[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}|[{}]", part, pattern)


FUNCTIONS: Functions = {
    "contains": contains,
    "startsWith": lambda text, start: to_text(text).lower().startswith(to_text(start).lower()),
    "endsWith": lambda text, end: to_text(text).lower().endswith(to_text(end).lower()),
    "format": formatted,
    "join": lambda items, by=",": (
        to_text(by).join(map(to_text, items)) if isinstance(items, list) else to_text(items)
    ),
    "toJSON": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "fromJSON": lambda text: json.loads(to_text(text)),
}


class Expression:
    """A parsed expression. Its names are looked up at once, its values when it is called."""

    def __init__(self, source: str, contexts: Contexts, functions: Functions = FUNCTIONS):
        self.source, self.contexts, self.functions = source, contexts, FUNCTIONS | functions
        self.called: set[str] = set()
        self.tokens: list[tuple[str, str]] = []
        end = 0
        while source[end:].strip():
            if not (token := TOKEN.match(source, end)):
                raise self.error(f"unexpected {source[end:].strip()!r}")
            self.tokens.append((token.lastgroup, token[token.lastgroup]))
            end = token.end()
        self.value = self._operation(0)
        if self.tokens:
            raise self.error(f"unexpected {self.tokens[0][1]!r}")

    def __call__(self) -> Any:
        return self.value()

    def error(self, what: str) -> ExpressionError:
        return ExpressionError(f"in the expression {self.source.strip()!r}: {what}")

    def _take(self, *signs: str) -> str | None:
        """The next token, if it is one of these signs."""
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return None

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self.error(f"a {sign!r} is missing")

    def _operation(self, level: int) -> Callable[[], Any]:
        if level == len(PRECEDENCE):
            return self._operand()
        left = self._operation(level + 1)
        while sign := self._take(*PRECEDENCE[level]):
            left = self._joined(sign, left, self._operation(level + 1))
        return left

    @staticmethod
    def _joined(sign: str, left: Callable, right: Callable) -> Callable[[], Any]:
        if sign in COMPARISONS:
            return lambda: compare(sign, left(), right())

        def one_of_them() -> Any:
            value = left()
            return value if is_true(value) == (sign == "||") else right()

        return one_of_them

    def _operand(self) -> Callable[[], Any]:
        if self._take("!"):
            negated = self._operand()
            return lambda: not is_true(negated())
        if self._take("("):
            inner = self._operation(0)
            self._expect(")")
            return self._path(inner, None)
        kind, word = self.tokens.pop(0) if self.tokens else ("sign", "the end")
        if kind == "number" or word in LITERALS:
            value = LITERALS[word] if word in LITERALS else to_number(word)
            return lambda: value
        if kind == "text":
            return lambda: word[1:-1].replace("''", "'")
        if kind == "name" and self._take("("):
            return self._path(self._call(word), None)
        if kind == "name" and word in self.contexts:
            context = self.contexts[word]
            return self._path(lambda: context, context)
        raise self.error(f"unexpected {word!r}; here may stand {', '.join(sorted(self.contexts))}")

    def _call(self, name: str) -> Callable[[], Any]:
        if name not in self.functions:
            raise self.error(f"unknown function {name}; here are {sorted(self.functions)}")
        self.called.add(name)
        arguments: list[Callable] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._operation(0))
        function = self.functions[name]
        return lambda: function(*(argument() for argument in arguments))

    def _path(self, value: Callable, now: Any) -> Callable[[], Any]:
        """A value's properties; `now`, what it is already, tells whether it can have them."""
        while sign := self._take(".", "["):
            if sign == "[":
                value, now = self._indexed(value, self._operation(0)), None
                self._expect("]")
            elif self._take("*"):
                value, now = self._members(value), None
            else:
                kind, name = self.tokens.pop(0) if self.tokens else ("sign", "the end")
                if kind != "name":
                    raise self.error(f"unexpected {name!r} after a full stop")
                try:
                    now = member(now, name)
                except ExpressionError as error:
                    raise self.error(str(error)) from None
                value = self._indexed(value, lambda name=name: name)
        return value

    @staticmethod
    def _indexed(value: Callable, key: Callable) -> Callable[[], Any]:
        return lambda: member(value(), key())

    @staticmethod
    def _members(value: Callable) -> Callable[[], Any]:
        def members() -> Several:
            whole = value()
            if isinstance(whole, dict):
                return Several(whole.values())
            return Several(whole if isinstance(whole, list) else [])

        return members


def interpolate(source: Any, contexts: Contexts, functions: Functions = FUNCTIONS) -> Any:
    """A string with its expressions' values, or a lone expression's value; lists, mappings too."""
    if isinstance(source, dict):
        return {key: interpolate(value, contexts, functions) for key, value in source.items()}
    if isinstance(source, list):
        return [interpolate(value, contexts, functions) for value in source]
    if not isinstance(source, str):
        return source
    if "${{" in EXPRESSION.sub("", source):
        raise ExpressionError(f"an expression is not closed in {source!r}")
    if lone := EXPRESSION.fullmatch(source):
        return Expression(lone[1], contexts, functions)()
    return EXPRESSION.sub(lambda m: to_text(Expression(m[1], contexts, functions)()), source)


def parse_condition(source: Any, contexts: Contexts, functions: Functions) -> Expression:
    """An `if`; "success() && (…)" unless it calls a function for the status itself."""
    text = "success()" if source is None else to_text(source).strip()
    if lone := EXPRESSION.fullmatch(text):
        text = lone[1]
    elif "${{" in text:
        raise ExpressionError(f"text around an expression makes an `if` always true: {text!r}")
    expression = Expression(text, contexts, functions)
    if expression.called & STATUS:
        return expression
    return Expression(f"success() && ({text})", contexts, functions)


def check_names(source: Any, contexts: Contexts, functions: Functions) -> None:
    """Parse every expression in a part of a workflow, and evaluate none."""
    if isinstance(source, dict):
        for key, value in source.items():
            if key == "if":
                without = {name: known for name, known in contexts.items() if name != "secrets"}
                parse_condition(value, without, functions)
            else:
                check_names(value, contexts, functions)
    elif isinstance(source, list):
        for value in source:
            check_names(value, contexts, functions)
    elif isinstance(source, str):
        for found in EXPRESSION.finditer(source):
            Expression(found[1], contexts, functions)
