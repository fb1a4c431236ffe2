"""All attacks, in the order in which they are written down."""

from tests.attacks.message_attacks import MESSAGE_ATTACKS
from tests.attacks.release_attacks import RELEASE_ATTACKS
from tests.attacks.server_attacks import SERVER_ATTACKS
from tests.attacks.transport_attacks import TRANSPORT_ATTACKS
from tests.attacks.tuf_attacks import TUF_ATTACKS

ATTACKS = (*TUF_ATTACKS, *MESSAGE_ATTACKS, *RELEASE_ATTACKS, *TRANSPORT_ATTACKS, *SERVER_ATTACKS)
