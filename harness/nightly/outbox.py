"""The notices of nightly runs on their way: written to files, queued in the state, delivered."""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.files import replace_file
from harness.nightly.deadline import Clock
from harness.nightly.deliver import Send
from harness.nightly.state import NightlyState, Notice

_GIVE_UP_DAYS = 14  # after which a notice that cannot be delivered is dropped


@dataclass(frozen=True)
class Outbox:
    """Delivers the notices of the nightly runs of a file.

    `folder`: where their texts are written, below `notices`; `reports`: that of the pages; `send`:
    from `harness.nightly.deliver.channels`; `log` receives a line for each notice.
    """

    folder: Path
    reports: Path
    clock: Clock
    send: Mapping[str, Send]
    log: Callable[[str], None]

    def notify(self, state: NightlyState, notices: Sequence[Notice]) -> None:
        """Write notices that have not been reported yet to files, and queue them for delivery."""
        for notice in notices:
            if notice.key in state.reported:
                continue
            name = hashlib.sha256(notice.key.encode("utf-8", "replace")).hexdigest()[:8]
            file = self.folder / "notices" / f"{notice.date}-{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, f"{notice.title}\n\n{notice.text}\n")
            self.log(f"notice: {notice.title} ({file})")
            state.reported[notice.key] = notice.date
            state.nights[-1].news += 1
            notice.to = list(self.send)
            state.outbox.append(notice)
        state.save()

    def deliver(self, state: NightlyState) -> tuple[str, ...]:
        """Send the queued notices; return errors. Later runs retry for `_GIVE_UP_DAYS` days."""
        errors = []
        for notice in list(state.outbox):
            page = self.reports / notice.page if notice.page else None
            for channel in [name for name in notice.to if name in self.send]:
                try:
                    self.send[channel](notice, page if page and page.is_file() else None)
                except Exception as error:
                    days = (self.clock.now().date() - dt.date.fromisoformat(notice.date)).days
                    if days < _GIVE_UP_DAYS:
                        errors.append(f"notice {notice.title!r} will be sent again: {error}")
                        continue
                    errors.append(
                        f"notice {notice.title!r} is dropped after {days} days; its text is in "
                        f"{self.folder / 'notices'}: {error}"
                    )
                notice.to.remove(channel)
                state.save()
            if not set(notice.to) & set(self.send):
                state.outbox.remove(notice)
        state.save()
        return tuple(dict.fromkeys(errors))
