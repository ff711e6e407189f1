"""What `concord prove` and `concord rehearse` do: a copy of a landscape on twins of its systems, hurt and judged.

ground      a database server, twins and landscape of their own, and cheap copies of what they came to
work        what people do in the systems meanwhile
nursery     starts processes that have imported everything already
worker      Concord's own process in all this: the one that is killed
standing    what systems and golden records hold, in a form that two runs can be compared by
cells       each way in which a run is hurt, and what became of it
verdict     what all cells together prove
"""
