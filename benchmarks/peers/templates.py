"""Renders conversations with every chat template of a folder by Jinja itself, set up as chat templates expect it, for our tests to compare with.

python3 templates.py FOLDER > FOLDER/golden.json        (Debian: python3-jinja2)
"""
import datetime
import glob
import json
import os
import sys

import jinja2
import jinja2.sandbox


def turn(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [turn("user", "Who are you?")],
    [turn("system", "  Be brief. "), turn("user", "\n Hello\n")],
    [turn("user", "One"), turn("assistant", "Two"), turn("user", "Three ünïcödé 🙂")],
    [turn("system", "S"), turn("user", "a"), turn("assistant", "<think>\nhm\n</think>\n\nb"), turn("user", "c"), turn("assistant", "<think>so</think>d")],
    [turn("user", "")],
    [turn("user", "x"), turn("assistant", "y")],
    [turn("tool", "result"), turn("user", "x")],
]
VARIANTS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False},
    {"add_generation_prompt": True, "enable_thinking": False},
]


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
environment.filters["tojson"] = lambda value, indent=None, ensure_ascii=False, separators=None, sort_keys=False: json.dumps(
    value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
environment.globals["raise_exception"] = refuse
environment.globals["strftime_now"] = lambda form: datetime.datetime(2026, 3, 4, 15, 6, 7).strftime(form)

cases = []
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.jinja"))):
    source = open(path, encoding="utf-8").read()
    for messages in CONVERSATIONS:
        for variables in VARIANTS:
            try:
                text = environment.from_string(source).render(messages=messages, tools=None, documents=None, bos_token="<s>", eos_token="</s>", **variables)
            except Exception:
                # A template may refuse a conversation: then ours has to refuse it, too.
                text = None
            cases.append({"template": os.path.basename(path), "messages": messages, "variables": variables, "text": text})

json.dump({"by": "jinja2 " + jinja2.__version__, "cases": cases}, sys.stdout, ensure_ascii=False, indent=1)
print()
