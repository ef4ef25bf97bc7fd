"""What VidTAG's paper (arXiv 2604.12159) says its models cost: plain figures, put beside what is counted here.

Table 8 gives the number of the MLP's layers and all trainable parameters. Its widths are given for three layers (B.2);
the others are the even ones among those that lead to the table's differences. All rows are 3.4 to 3.5 M more than is
counted here, for which the paper has no part.
"""

from vgeo.methods.base import PublishedCost

TABLE_8_TRAINABLE = {  # hidden widths of the MLP -> parameters
    (1024,): 55.7e6,
    (1024, 768): 56.3e6,
    (1024, 1024, 768): 57.4e6,
    (1024, 1024, 768, 768): 58.0e6,
}
TABLE_14_MACS = {"geoclip": 81.91e9, "vidtag": 83.47e9}  # "Test GMACs", of what is not said


def table_8(mlp_widths: tuple[int, ...], phase: str) -> tuple[PublishedCost, ...]:
    """The row of a model with this MLP, if there is one."""
    value = TABLE_8_TRAINABLE.get(mlp_widths)
    if value is None:
        return ()
    note = "every row is 3.4 to 3.5 M above ours, unexplained; differences between rows agree"
    return (PublishedCost(source="VidTAG, table 8", quantity="trainable", phase=phase, value=value, note=note),)


def table_14(method: str) -> tuple[PublishedCost, ...]:
    """The line of a method."""
    note = "one ViT-L/14 at 224 px is 81.0 GMACs"
    if method == "vidtag":
        note += ": the published figure cannot contain both backbones"
    return (
        PublishedCost(source="VidTAG, table 14", quantity="macs_per_frame", value=TABLE_14_MACS[method], note=note),
    )
