r"""The token rules of Stanford's Penn Treebank tokenizer: CoreNLP 3.4.1 with its default options.

The rules give the same tokens as that version's PTBLexer (Grow, Manning, Finkel and others), a JFlex lexer. They also
reproduce apparent mistakes, which are marked "as in PTBLexer". The longest match wins, and the first rule among
equally long matches. The text has one caption per line; a token may depend on the next line. See NOTICE for the origin
of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from captioning.metrics.penn_treebank.characters import CAPITALS, DIGITS, LETTERS, MARKS, SYMBOLS
from captioning.metrics.penn_treebank.lexer import Rule

LINE_END = "\n"
"""The token for the end of a line."""

_NOT_IN_URL = r' \t\n\f\r"<>|'

NAMES: dict[str, str | frozenset[str]] = {
    # Characters.
    "ANY": r"[\u0000-\uffff]",
    "LETTER": LETTERS,
    "CAPITAL": CAPITALS,
    "DIGIT": DIGITS,
    "MARK": MARKS,
    "SYMBOL": SYMBOLS,
    "ALNUM": "({LETTER} | {DIGIT})",
    "SPACE": r"[ \t\u00a0\u2000-\u200a\u3000]",
    "NEWLINE": r"([\r]? [\n] | [\r\v\f\u0085\u2028\u2029])",
    "BLANK": "({SPACE} | {NEWLINE})",
    "PAUSE": r"[,;:\u3001]",
    "HYPHEN": r"[-_\u058a\u2010\u2011]",
    "APOSTROPHE": r"(['\u0092\u2019] | &apos;)",
    "INNER_APOSTROPHE": r"({APOSTROPHE} | [`\u0091\u2018\u201b])",
    # Words.
    "WORD_LETTER": r"({LETTER} | {MARK} | \u00ad | &[aeiouAEIOU] (acute | grave | uml) ;)",
    "WORD_PART": "{WORD_LETTER} ({WORD_LETTER} | {DIGIT})*",
    "WORD": "{WORD_PART} ([.!?] {WORD_PART})*",
    "CLITIC": "{APOSTROPHE} ([msdMSD] | re | ve | ll)",
    "NEGATION": "n {INNER_APOSTROPHE} t",
    "NEGATED": r"[A-Za-z\u00ad]* [A-MO-Za-mo-z] \u00ad*",
    "WITH_APOSTROPHE": r"""
        {APOSTROPHE} (n {APOSTROPHE}? | em | till? | cause | [2-9] 0s)
        | ([lLdDjJ] | Dunkin | somethin | ol) {APOSTROPHE}
        | cont'd\.? | nor'easter | c'mon | e'er | s'mores | ev'ry | li'l | nat'l | O {INNER_APOSTROPHE} o
        | [A-HJ-XZn] {INNER_APOSTROPHE} {LETTER} {LETTER}+
        | {LETTER}+ [aeiouyAEIOUY] {INNER_APOSTROPHE} [aeiouA-Z] {LETTER}*""",
    # Tags. A quoted value may span lines, as in PTBLexer.
    "TAG_NAME": "[A-Za-z] [A-Za-z0-9_:.-]*",
    "ATTRIBUTE": """{TAG_NAME} ([ ]* = [ ]* ('[^']*' | "[^"]*"))?""",
    "TAG": r"< ([!?] [A-Za-z-] [^>\r\n]* | {TAG_NAME} ([ ]+ {ATTRIBUTE})* [ ]* /? | / {TAG_NAME}) [ ]* >",
    # Abbreviations.
    "DOTTED": r"""([A-Za-z] (\.[A-Za-z])+
        | (Canada | Sino | Korean | EU | Japan | non) -U\.S | U\.S\.- (U\.K | U\.S\.S\.R))""",
    "INITIALS": "([A-Za-z] | {DOTTED})",
    "MONTH": "Jan | Feb | Mar | Apr | Jun | Jul | Aug | Sept? | Oct | Nov | Dec",
    "DAY": "Mon | Tues? | Wed | Thu (rs)? | Fri",
    "STATE": """Ala | Ariz | [A]z | [A]rk | Calif | Colo | Conn | Ct | Dak | [D]el | Fla | Ga | [I]ll | Ind | Kans? | Ky
        | [L]a | [M]ass | Md | Mich | Minn | [M]iss | Mo | Mont | Neb | Nev | Okla | [O]re | [P]a | Penn | Tenn | [T]ex
        | Va | Vt | [W]ash | Wisc? | Wyo""",
    "COMPANY": "Inc | Cos? | Corp | Pp?t[ye]s? | Ltd | Plc | Rt | Bancorp | Bhd | Assn | Univ | Intl | Sys",
    "ABBREVIATION": r"""({MONTH} | {DAY} | {STATE} | {COMPANY} | Jr | Sr | Bros | (Ed | Ph) \.D | Blvd | Rd | Esq
        | tel | est | ext | sq | etc | al | seq | Bldg) \.""",
    "TITLE": """Mr | Mrs | Ms | [M]iss | Drs? | Profs? | Sens? | Reps? | Attys? | Lt | Col | Gen | Messrs | Govs?
        | Adm | Rev | Maj | Sgt | Cpl | Pvt | Capt | Ste? | Ave | Pres | Lieut | Hon | Brig | Co?mdr | Pfc | Spc
        | Supts? | Det | Mt | Ft | Adj | Adv | Asst | Assoc | Ens | Insp | Mlle | Mme | Msgr | Sfc""",
    "BEFORE_NAME": r"""({TITLE} | {INITIALS} | vs | Alex | Wm | Jos | Cie | a\.k\.a | cf | TREAS | Ph
        | Dept | Invt | Elec | Natl | M [ft] g)""",
    "BEFORE_NUMBER": r"(ca | figs? | prop | nos? | art | bldg | pp | op) \.",
    "SENTENCE_START": "{BLANK} ({BLANK} | {CAPITAL} | {TAG})",
    "FIRST_WORD": r"""[A]bout | [A]ccording | [A]dditionally | [A]fter | [A]n | [A] | [A]s | [A]t | [B]ut | [E]arlier
        | [H]e | [H]er | [H]ere | [H]owever | [I]f | [I]n | [I]t | [L]ast | [M]any | [M]ore | [M]r\. | [M]s\. | [N]ow
        | [O]nce | [O]ne | [O]ther | [O]ur | [S]he | [S]ince | [S]o | [S]ome | [S]uch | [T]hat | [T]he | [T]heir
        | [T]hen | [T]here | [T]hese | [T]hey | [T]his | [W]e | [W]hen | [W]hile | [W]hat | [Y]et | [Y]ou""",
    # Numbers.
    "NUMBER": r"[+-]? ({DIGIT}+ | {DIGIT}* ([.:,\u00ad\u066b\u066c] {DIGIT}+)+)",
    "RAISED_OR_LOWERED": r"[\u207a\u207b\u208a\u208b]? ([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+ | [\u2080-\u2089]+)",
    "DATE": "{DIGIT}{1,2} [-/] {DIGIT}{1,2} [-/] {DIGIT}{2,4}",
    "FRACTION": r"({DIGIT}{1,4} [- \u00a0])? {DIGIT}{1,4} (\\?/ | \u2044) {DIGIT}{1,4}",
    "PHONE": r"""(\( [0-9]{2,3} \) [ \u00a0]? | (\+ \+?)? ([0-9]{2,4} [- \u00a0])? [0-9]{2,4} [- \u00a0])
        [0-9]{3,4} [- \u00a0]? [0-9]{3,5}
        | ((\+ \+?)? [0-9]{2,4} \.)? [0-9]{2,4} \. [0-9]{3,4} \. [0-9]{3,5}""",
    # Compounds: with hyphens, slashes, ampersands.
    "COMPOUND_PART": "([dDoOlL] {INNER_APOSTROPHE} {ALNUM})? {ALNUM}+",
    "COMPOUND": "{COMPOUND_PART} ({HYPHEN} {COMPOUND_PART})*",
    "HYPHENATED": r"[A-Za-z0-9] [A-Za-z0-9.,\u00ad]* (- ([A-Za-z0-9\u00ad]+ | {DOTTED} \.))+",
    "SLASHED_PART": "[A-Za-z0-9]+ (-[A-Za-z]+){0,2}",
    "SLASHED": r"{SLASHED_PART} (\\?/ {SLASHED_PART}){1,2}",
    "WITH_AMPERSAND": "[A-Z]+ (([+&] | &amp;) [A-Z]+)+",
    "FIXED": r"""- (RRB | LRB | RCB | LCB | RSB | LSB) - | C\.D\.s | pro- | anti- | S (& | &amp;) (P-500 | Ls)
        | Cap {APOSTROPHE} n | c {APOSTROPHE} est""",
    # Web addresses. In a domain, `,-_` is a range, as in PTBLexer, so digits and capitals are excluded.
    "URL": rf"https?:// [^{_NOT_IN_URL}(){{}}]+ [^{_NOT_IN_URL}.!?(){{}},-]",
    "PATH": rf"/ [^{_NOT_IN_URL}()]+ [^{_NOT_IN_URL}.!?(){{}},-]",
    "DOMAIN": rf"""www\. ([^{_NOT_IN_URL}.!?(){{}},]+ \.)+ [a-zA-Z]{{2,4}}
        | ([^{_NOT_IN_URL}`'.!?(){{}},-_$]+ \.)+ (com | net | org | edu)""",
    "EMAIL": rf"""(&lt; | <)? [a-zA-Z0-9] [^{_NOT_IN_URL}(){{}}\u00a0]* @ ([^{_NOT_IN_URL}(){{}}.\u00a0]+ \.)*
        [^{_NOT_IN_URL}(){{}}.\u00a0]+ (&gt; | >)?""",
    "FILE_PART": "({WORD_LETTER} | {DIGIT})+",
    "FILE": r"""{FILE_PART} (\. {FILE_PART})* \. (bat | bmp | c | class | cgi | cpp | dll | doc | docx | exe | gif | gz
        | h | htm | html | jar | java | jpeg | jpg | mov | mp3 | pdf | php | pl | png | ppt | ps | py | sql | tar | txt
        | wav | x | xml | zip)""",
    "SMILEY": r"[<>]? [:;=] [-o*']? [()DPdpO\\{@|\[\]]",
    # The first alternative was probably meant to be like the others. As in PTBLexer, it matches everything from a
    # bracket to "<>]".
    "EASTERN_SMILEY": r"""[\^x=~<>] \. \[\^x= [^<]* <>\] | [-\^x=~<>'] _ [-\^x=~<>']
        | \( ([-\^x=~<>'] [_.]? [-\^x=~<>'] | [\^x=~<>'] - [\^x=~<>'`]) \)""",
    # Punctuation.
    "QUOTES": r"""{APOSTROPHE} | ''
        | [`\u0091-\u0094\u00ab\u00bb\u2018-\u201f\u2039\u203a]{1,2}""",
    "DOUBLE_QUOTE": '" | &quot;',
    "ELLIPSIS": r"\.{3,5} | (\. [ \u00a0]){2,4} \. | [\u0085\u2026]",
}
"""The named character sets and patterns that the rules refer to."""


def _as(token: str) -> Callable[[str], str]:
    return lambda _: token


def _nothing(_: str) -> None:
    return None


def _without_last(count: int) -> Callable[[str], str]:
    return lambda text: text[:-count]


def _without_soft_hyphens(text: str) -> str:
    return text.replace("\u00ad", "") or "-"


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")


def _round_brackets(text: str) -> str:
    return text.replace("(", "-LRB-").replace(")", "-RRB-")


def _ampersand(text: str) -> str:
    return re.sub("&amp;", "&", text, flags=re.IGNORECASE)


_QUOTES = {
    **dict.fromkeys("\u0091\u2018\u201b\u2039", "`"),
    **dict.fromkeys("\u0092\u2019\u203a", "'"),
    **dict.fromkeys("\u0093\u201c\u00ab", "``"),
    **dict.fromkeys("\u0094\u201d\u00bb", "''"),
}
_OPENING = str.maketrans({**_QUOTES, "'": "`", '"': "``"})
_CLOSING = str.maketrans({**_QUOTES, '"': "''"})
_CURRENCY = str.maketrans({**dict.fromkeys("\u0080\u00a4\u20a0\u20ac", "$"), "\u00a2": "cents", "\u00a3": "#"})
_FRACTIONS = str.maketrans({"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"})


def _opening_quotes(text: str) -> str:
    return text.replace("&apos;", "'").replace("&quot;", '"').translate(_OPENING)


def _closing_quotes(text: str) -> str:
    return text.replace("&apos;", "'").replace("&quot;", '"').translate(_CLOSING)


def _currency(text: str) -> str:
    return text.translate(_CURRENCY)


def _fraction(text: str) -> str:
    return text.translate(_FRACTIONS)


def _hyphens(text: str) -> str:
    return "--" if len(text) in (3, 4) else text


def _initials(text: str) -> str:
    """Drop the period of a single letter, but not of longer initials. In both cases, the period becomes a token too."""
    return text[:1] if len(text) == 2 else text


UNKNOWN = Rule(r"[^\n\r\v\f\u0085\u2028\u2029]", _nothing)
"""The rule for characters that no other rule matches."""

RULES = (
    # Words.
    Rule(r"c\+\+ | (c | f) #"),
    Rule("cannot | 'twas", _without_last(3), reread=3),
    Rule("'tis | gonna | gotta | lemme | gimme | wanna", _without_last(2), reread=2),
    Rule("{TAG}", _unbroken),
    Rule(r"& (MD | mdash | ndash) ; | [\u0096\u0097\u2013\u2014\u2015]", _as("--")),
    Rule("&amp;", _ampersand),
    Rule("& (HT | TL | UR | LR | QC | QL | QR | odq | cdq | #[0-9]+) ;"),
    Rule("{WORD}", _without_soft_hyphens, before="{CLITIC}"),
    Rule("{NEGATED}", _without_soft_hyphens, before="{NEGATION}"),
    Rule("{WORD}", _without_soft_hyphens),
    Rule("{WITH_APOSTROPHE}"),
    Rule("y {APOSTROPHE}", before="{LETTER}"),
    Rule("{URL} | ({DOMAIN}) {PATH}? | {EMAIL} | @ [a-zA-Z_] [a-zA-Z_0-9]* | # {WORD_LETTER}+"),
    Rule("{CLITIC} | {NEGATION}", _closing_quotes, before="[^A-Za-z]"),
    # Numbers.
    Rule("{DATE}"),
    Rule("{NUMBER}", _without_soft_hyphens),
    Rule("{RAISED_OR_LOWERED}"),
    Rule("{FRACTION}", _unbroken),
    Rule(r"[\u00bc-\u00be\u2153-\u215e]", _fraction),
    Rule("{FIXED}", _ampersand),
    Rule(r"{SLASHED} | [A-Z]* \$ | #"),
    Rule(r"[\u0080\u00a2-\u00a5\u060b\u0e3f\u20a0\u20a4\u20ac\uffe0\uffe1\uffe5\uffe6]", _currency),
    # Abbreviations. At the end of a sentence, the period belongs to the abbreviation and is also a token of its own.
    Rule(r"{INITIALS} \.", _initials, before="{BLANK}+ ({FIRST_WORD} | {TAG}) {BLANK}", reread=1),
    Rule("{BEFORE_NUMBER}", before="{BLANK}? {DIGIT}"),
    Rule(r"(pt [eyEY] | co) \.", before="{SPACE} (ltd | lim)"),
    Rule("{ABBREVIATION}", before="{SENTENCE_START}", reread=1),
    Rule("{ABBREVIATION}", before="{ANY} {ANY}"),
    Rule("{ABBREVIATION}", reread=1),
    Rule(r"{BEFORE_NAME} \."),
    Rule("{BEFORE_NAME}", before="{SPACE}"),
    Rule("{INITIALS}", before="{BLANK}"),
    Rule("{APOSTROPHE} [0-9] [0-9]", before="{BLANK}"),
    Rule("{FILE}", before="({BLANK} | [.?!,])"),
    Rule(r"{WORD} \.", _without_soft_hyphens, before="{PAUSE}"),
    Rule("{PHONE}", lambda text: _round_brackets(_unbroken(text))),
    # Punctuation.
    Rule("{DOUBLE_QUOTE}", _opening_quotes, before="[A-Za-z0-9$]"),
    Rule("{DOUBLE_QUOTE}", _closing_quotes),
    Rule(r"\u007f", _nothing),
    Rule("< | &lt;", _as("<")),
    Rule("> | &gt;", _as(">")),
    Rule("{SMILEY}", _round_brackets, before="[^A-Za-z0-9]"),
    Rule("{EASTERN_SMILEY}", _round_brackets),
    Rule(r"\{", _as("-LCB-")),
    Rule(r"\}", _as("-RCB-")),
    Rule(r"\[", _as("-LSB-")),
    Rule(r"\]", _as("-RSB-")),
    Rule(r"\(", _as("-LRB-")),
    Rule(r"\)", _as("-RRB-")),
    Rule("-+", _hyphens),
    Rule("{ELLIPSIS}", _as("...")),
    Rule(r"@+ | #+ | _+ | \*+ | (\\ \*){1,3} | {PAUSE} | [?!]+ | [.=/]"),
    # Compounds.
    Rule(r"{HYPHENATED} \.", _without_soft_hyphens, before="{PAUSE}"),
    Rule("{HYPHENATED}", _without_soft_hyphens),
    Rule(r"{COMPOUND} \.", before="{PAUSE}"),
    Rule("{COMPOUND}"),
    Rule(r"{WITH_AMPERSAND} \.", _ampersand, before="{PAUSE}"),
    Rule("{WITH_AMPERSAND}", _ampersand),
    # Everything else.
    Rule("'", _opening_quotes, before=r"[A-Za-z] [^ \t\n\r\u00a0]"),
    Rule("{CLITIC} | {NEGATION} | {QUOTES}", _closing_quotes),
    Rule("<< | >> | {SYMBOL}"),
    Rule(r"{SPACE}+ | &nbsp; | [\u0000\u200b\u200e\u200f\ufeff]", _nothing),
    Rule("{NEWLINE}", _as(LINE_END)),
    UNKNOWN,
)
"""The rules in order of priority."""
