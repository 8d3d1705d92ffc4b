from typing import NamedTuple
from plmc.data.embedded.sentiment import sst2
class Kind(NamedTuple):
    make: object
    classes: int
MAKERS={"sst2":Kind(sst2,2)}
