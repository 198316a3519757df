"""Teaches papermill to set the parameters of a Rust notebook.

papermill imports this module as the entry point of an engine, before it translates anything.
"""

from papermill.engines import NBClientEngine
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

from seq2seq_parameters import declarations, let


class RustTranslator(Translator):
    # The declarations of the notebook at hand. papermill shows a translator the cell tagged `parameters`
    # just before it asks for the translation, which needs the types.
    declared = {}

    @classmethod
    def inspect(cls, parameters_cell):
        cls.declared = declarations(parameters_cell["source"])
        return [
            Parameter(name, declaration.type, declaration.default, declaration.help)
            for name, declaration in cls.declared.items()
        ]

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        declared, cls.declared = cls.declared, {}
        lines = [f"// {comment}"]
        for name, value in parameters.items():
            lines.append(let(name, declared[name].type if name in declared else guess(name, value), value))
        return "\n".join(lines) + "\n"


def guess(name, value):
    """The type of a parameter that the notebook does not declare."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if name == "seed" or name.endswith("_seed"):
            return "u64"
        return "usize" if value >= 0 else "i64"
    if isinstance(value, float):
        return "f64"
    if isinstance(value, str):
        return "&str"
    if value is None:
        return "Option<f64>"
    if isinstance(value, list) and value:
        return f"Vec<{guess(name, value[0])}>"
    raise ValueError(f"the notebook does not declare the parameter {name}, and {value!r} does not tell its type")


# papermill's own engine, under a second name, because an entry point has to be one.
engine = NBClientEngine
papermill_translators.register("rust", RustTranslator)
# The name in the output of evcxr, which papermill writes into a notebook that it has run.
papermill_translators.register("Rust", RustTranslator)
