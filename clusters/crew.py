"""The actors of a run: hired, listened to, replaced when they die, sent home when their node is about to go.

A post is a place for one actor at a time. Who dies at a post is replaced by another with the next epoch; who is at one
on a node that drains gets nothing more, ends what it has in hand, and the post is filled elsewhere meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tts.actions import NO_USAGE, Action, End, Failed, Generate, Progressed, Verify, Work
from tts.clusters import connect
from tts.clusters.actors import GeneratorActor, Opened, Post, Stopping, VerifierActor
from tts.clusters.hiring import Hiring
from tts.clusters.member import ROLES, Member, Role
from tts.clusters.outbox import Begun, Stalled, Told
from tts.clusters.placement import Placement
from tts.clusters.spec import ClusterSpec
from tts.errors import (
    ActorDied,
    ActorFailed,
    ActorLost,
    ClusterMismatch,
    ClusterTooSmall,
    ModelNotFound,
    TTSError,
    UsageError,
)
from tts.journal import problem_of
from tts.runfolder import program
from tts.target import Target
from tts.types import ErrorInfo
from tts.wire import Cancellation, Capabilities, normalise_base_url

NODES_EVERY_S = 2.0
RETRY_FIRST_S, RETRY_LONGEST_S = 0.5, 15.0
MOST_MOVES = 3  # of an action whose actor can reach no endpoint
MOST_DEATHS = 6  # of actors with the same action in hand
LAST_WORDS_S = 2.0
_log = logging.getLogger("tts.cluster")


class _Post:
    """A place for one actor at a time; on a certain node, or wherever Ray finds room."""

    def __init__(self, role: Role, name: str, index: int, node_id: str | None) -> None:
        self.role = role
        self.name = name
        self.index = index
        self.node_id = node_id
        self.member: Member | None = None
        self.closed = False
        self.deaths = 0
        self.last_death = ""
        self.first: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.first.add_done_callback(lambda first: first.cancelled() or first.exception())  # one error is enough
        self.keeper: asyncio.Task[None] | None = None


class Crew:
    """All actors of a run.

    Args:
        spec: the cluster's.
        target: resolved; its endpoints are divided among the generators.

    Attributes:
        tell, orphaned, fail: whoever carries the run hears of events; of the ids whose actor died, with an error for
            those that must not be tried again; and of the error after which the crew cannot go on.
        looked: called every few seconds, when the nodes have been looked at.
    """

    def __init__(self, spec: ClusterSpec, target: Target) -> None:
        self.tell: Callable[[Sequence[Told]], None] = lambda events: None
        self.orphaned: Callable[[Mapping[str, ErrorInfo | None]], None] = lambda ids: None
        self.fail: Callable[[TTSError], None] = lambda error: None
        self.looked: Callable[[], None] = lambda: None
        self._spec = spec
        self._target = target
        self._hiring = Hiring(spec, target)
        self._connected = False
        self._failed: TTSError | None = None
        self._posts: list[_Post] = []
        self._members: dict[str, Member] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._placements: dict[Role, Placement] = {"generator": Placement(), "verifier": Placement()}
        self._waiting: dict[Role, dict[str, Work]] = {"generator": {}, "verifier": {}}  # until there is an actor
        self._verifiers: dict[str, str | None] = {}
        self._died_with: Counter[str] = Counter()
        self._in_hand: dict[str, Work] = {}
        self._cancellations: dict[str, Cancellation] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._nobody_since: dict[Role, float] = {}
        self._counts: dict[Role, int] = {"generator": 0, "verifier": 0}
        self._closing = False

    # --- life

    async def start(self) -> list[Opened]:
        """Connect, and hire everybody; returns what the first at each post said.

        Raises: ClusterUnreachable, ClusterMismatch, ClusterTooSmall, ActorFailed; EndpointError as seen from an actor.
        """
        connect.connect(self._spec.address, self._hiring.cpus())
        self._connected = True
        await self._post_all(await asyncio.to_thread(connect.nodes))
        for role in ROLES:
            if not any(post.role == role for post in self._posts):
                asked = self._hiring.actors(role).asked()
                raise ClusterTooSmall(
                    f"no node can hold a {role} ({asked}); the cluster has {connect.resources()}", asked=asked
                )
        firsts = [post.first for post in self._posts]
        await asyncio.wait(firsts, return_when=asyncio.FIRST_EXCEPTION)
        opened = await asyncio.gather(*firsts) if all(f.done() and not f.exception() for f in firsts) else []
        for first in firsts:
            if first.done():
                first.result()
        names = {said.model for said in opened if said.model}
        if len(names) > 1:
            raise ModelNotFound(f"the endpoints serve {len(names)} models: {', '.join(sorted(names))}; choose one")
        self._watcher = asyncio.get_running_loop().create_task(self._watch())
        return opened

    async def equip(self, verifiers: Mapping[str, str | None]) -> None:
        """Give everybody these verifiers (name -> the model it asks). Raises what importing them on a node raises."""
        if self._failed is not None:
            raise self._failed
        self._verifiers = dict(verifiers)
        limit_s = self._spec.start_timeout_s
        equipped = (member.equip(verifiers, limit_s) for member in self._members.values())
        for outcome in await asyncio.gather(*equipped, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, ActorFailed):  # its successor will be
                raise outcome

    async def settle_cancellation(self, max_tokens: int) -> None:
        """Find out from an actor, with one request of at most `max_tokens` for each endpoint, whether it stops decoding
        when a stream is closed; have those that do not aborted, or charged in full."""
        for url, model, key in self._hiring.probed():
            asked = [member for member in self._members.values() if member.role == "generator"]
            try:
                stopping = await asked[0].try_abort(url, model, key, max_tokens, self._spec.start_timeout_s)
            except (IndexError, ActorFailed):  # who looked has died: nobody knows
                stopping = Stopping(stops=False)
            if stopping.stops is False:
                self._cancellations[normalise_base_url(url)] = "abort" if stopping.engine == "sglang" else "best_effort"
        self.settle(self._cancellations)

    @property
    def probes(self) -> int:
        """How many requests `settle_cancellation` makes."""
        return len(self._hiring.probed())

    def settle_unprobed(self) -> None:
        """Trust no endpoint to stop when a stream is closed: what is cancelled is charged in full."""
        self.settle({normalise_base_url(url): "best_effort" for url, _, _ in self._hiring.probed()})

    def settle(self, cancellations: Mapping[str, Cancellation]) -> None:
        """Tell everybody what to do at these endpoints when a stream is cancelled."""
        self._cancellations = dict(cancellations)
        for member in self._members.values():
            member.settle(self._cancellations)

    async def probe(self) -> list[tuple[str, str, Capabilities]]:
        """Actor, endpoint and what the endpoint can do as seen from there, for every endpoint from every node."""
        found = []
        for member in {member.opened.node_id: member for member in self._members.values()}.values():
            for url in self._hiring.urls:
                model, key = self._target.get("model"), self._target.get("api_key")
                seen = await member.probe(url, model, key, self._spec.start_timeout_s)
                found.append((member.name, url, msgspec.msgpack.decode(seen, type=Capabilities)))
        return found

    async def halt(self) -> None:
        """Cancel everything, and wait a moment for how it ended."""
        for waiting in self._waiting.values():
            waiting.clear()
        for placement in self._placements.values():
            self.cancel(list(placement))
        limit_s = time.monotonic() + LAST_WORDS_S
        while self._is_busy() and time.monotonic() < limit_s:  # noqa: ASYNC110  # at the end of a run only
            await asyncio.sleep(0.01)

    async def aclose(self) -> None:
        """End every actor; a Ray that was started here ends, too."""
        self._closing = True
        tasks = [post.keeper for post in self._posts if post.keeper is not None]
        tasks += [self._watcher] if self._watcher is not None else []
        await _ended(tasks)
        await _ended(list(self._leaving))
        members = {m.name: m for m in [*self._members.values(), *(p.member for p in self._posts if p.member)]}
        await asyncio.gather(*(member.stop(LAST_WORDS_S) for member in members.values()))
        if self._connected:
            await asyncio.to_thread(connect.disconnect)

    def _is_busy(self) -> bool:
        return any(placement.busy for placement in self._placements.values())

    # --- work

    def dispatch(self, actions: Sequence[Work], *, avoid: str | None = None) -> None:
        """Put each into the hands of an actor (other than `avoid`); what finds none waits for one."""
        batches: dict[str, list[Action]] = {}
        for action in actions:
            role = self._role_of(action)
            name = self._placements[role].place(action.id, problem_of(action.id), _tokens_of(action), avoid=avoid)
            if name is None:
                self._waiting[role][action.id] = action
            else:
                self._in_hand[action.id] = action
                batches.setdefault(str(name), []).append(action)
        failed: list[Told] = []
        for name, batch in batches.items():
            for id, error in self._members[name].submit(batch):
                self._in_hand.pop(id, None)
                for placement in self._placements.values():
                    placement.ended(id)
                failed.append(Failed(id, 0.0, ErrorInfo.of(error)))
        if failed:
            self.tell(failed)

    def has_another(self, id: str) -> bool:
        """Whether somebody other than the one who has this action in hand could take it as well."""
        return any(p.where(id) is not None and p.has_another(id) for p in self._placements.values())

    def hedge(self, action: Work, id: str) -> None:
        """Send this second request to an actor other than the one that has the first."""
        placement = self._placements[self._role_of(action)]
        name = placement.place(action.id, problem_of(action.id), _tokens_of(action), avoid=placement.where(id))
        assert name is not None, "has_another said that there is one"
        self._members[str(name)].submit([action])

    def cancel(self, ids: Sequence[str]) -> None:
        """Stop these, all the way to the engine."""
        by_member: dict[str, list[str]] = {}
        for id in ids:
            for placement in self._placements.values():
                name = placement.where(id)
                if name is not None:
                    by_member.setdefault(str(name), []).append(id)
        for name, some in by_member.items():
            self._members[name].cancel(some)

    def withdraw(self, id: str) -> bool:
        """Take back an action that no actor has been given; False if one has."""
        return any(waiting.pop(id, None) is not None for waiting in self._waiting.values())

    def status(self) -> list[str]:
        """A line on each post."""
        lines = []
        for post in self._posts:
            member = post.member
            if member is None or member.name not in self._members:
                lines.append(f"{post.name}: starting" + (f" after {post.last_death}" if post.last_death else ""))
                continue
            in_hand = self._placements[post.role].in_hand(member.name)
            state = "leaving" if member.retired.is_set() else "working"
            deaths = f", replaced {post.deaths} times" if post.deaths else ""
            lines.append(f"{member.name}: {state}, {in_hand} in hand, {member.finished} done{deaths}")
        return lines

    def _role_of(self, action: Work) -> Role:
        """Generators sample; verifiers score and compute. What asks an engine that generators host goes to them."""
        asks = isinstance(action, Verify) and action.request is not None
        if isinstance(action, Generate) or (asks and self._hiring.hosts_judge):
            return "generator"
        return "verifier"

    def _heard(self, member: Member, events: list[Told]) -> None:
        placement = self._placements[member.role]
        told: list[Told] = []
        moved: list[Work] = []
        for event in events:
            if isinstance(event, Progressed | Stalled | Begun):
                told.append(event)
            elif placement.ended(event.id):
                action = self._in_hand.pop(event.id, None)
                if action is not None and self._may_move(event, member):
                    moved.append(action)
                    continue
                member.finished += 1
                self._died_with.pop(event.id, None)
                told.append(event)
        if told:
            self.tell(told)
        for action in moved:
            self.dispatch([action], avoid=member.name)
        if member.retired.is_set() and not placement.in_hand(member.name):
            raise ActorDied("it has gone home")

    # --- posts

    async def _post_all(self, nodes: Sequence[connect.Node]) -> None:
        """Make the posts that these nodes ask for and that are not there; close those whose node is going or gone."""
        staying = {node.id: node for node in nodes if not node.draining}
        for role in ROLES:
            count = self._hiring.count(role)
            posts = [post for post in self._posts if post.role == role and not post.closed]
            if count != "per_node":
                for _ in range(count - len(posts)):
                    self._open_post(role, None)
                continue
            there = {post.node_id for post in posts}
            for node in staying.values():
                if node.id not in there and node.holds(self._hiring.actors(role).asked()):
                    self._open_post(role, node.id)
        for post in self._posts:
            if post.node_id is not None and post.node_id not in staying:
                post.closed = True
            if post.member is not None and post.member.opened.node_id in {node.id for node in nodes if node.draining}:
                self._retire(post.member)
        self._posts = [post for post in self._posts if not (post.closed and post.keeper and post.keeper.done())]

    def _open_post(self, role: Role, node_id: str | None) -> None:
        index = self._counts[role]
        self._counts[role] += 1
        post = _Post(role, f"tts-{role}-{index}", index, node_id)
        self._posts.append(post)
        post.keeper = asyncio.get_running_loop().create_task(self._keep(post), name=post.name)

    async def _keep(self, post: _Post) -> None:
        """Keep an actor at this post."""
        failures = 0
        while not post.closed:
            try:
                member = await self._hire(post)
            except Exception as caught:
                error = caught if isinstance(caught, TTSError) else ActorFailed(f"{post.name}: {caught!r}")
                failures += 1
                post.last_death = error.message
                if self._is_final(post, error, failures):
                    self._give_up(post, error, failures)
                    return
                _log.warning("%s; trying again", error.message)
                await asyncio.sleep(min(RETRY_LONGEST_S, RETRY_FIRST_S * 2 ** min(failures, 8)))
                continue
            failures = 0
            if not post.first.done():
                post.first.set_result(member.opened)
            listening = asyncio.get_running_loop().create_task(self._listen(post, member))
            retiring = asyncio.get_running_loop().create_task(member.retired.wait())
            try:
                await asyncio.wait((listening, retiring), return_when=asyncio.FIRST_COMPLETED)
            finally:
                retiring.cancel()
                if not listening.done():
                    self._leaving.add(listening)
                    listening.add_done_callback(self._leaving.discard)

    async def _hire(self, post: _Post) -> Member:
        connect.check_connected()
        spec = self._spec
        told = self._hiring.post(post.role, post.name, post.index, self._verifiers, self._cancellations)
        options = self._hiring.options(post.role, post.node_id)
        actor = GeneratorActor if post.role == "generator" else VerifierActor
        member = post.member = Member(post.role, told, actor, options, spec.heartbeat_s)
        try:
            opened = await member.start(spec.start_timeout_s, connect.resources)
            if opened.program != program():
                raise ClusterMismatch(f"{member.name} runs {opened.program}, and this is {program()}: use one version")
            await self._catch_up(member, told)
        except BaseException:
            member.kill()
            raise
        self._members[member.name] = member
        self._placements[post.role].add(member.name)
        waiting, self._waiting[post.role] = self._waiting[post.role], {}
        self.dispatch(list(waiting.values()))
        return member

    async def _catch_up(self, member: Member, told: Post) -> None:
        """Tell it what everybody else was told while it was starting."""
        while told.verifiers != self._verifiers:
            told = msgspec.structs.replace(told, verifiers=self._verifiers)
            await member.equip(self._verifiers, self._spec.start_timeout_s)
        member.settle(self._cancellations)

    async def _listen(self, post: _Post, member: Member) -> None:
        """Until it dies, or has gone home; then what it had in hand is for others."""
        try:
            await member.listen(self._heard)
        except Exception as why:  # ActorDied; any other is as good as its death
            if not member.retired.is_set():
                post.deaths += 1
                post.last_death = str(why)
                _log.warning("%s; its work is given to others", why)
        finally:
            if not self._closing:
                del self._members[member.name]
                self._let_go(post.role, member.name)
                member.kill()

    def _let_go(self, role: Role, name: str) -> None:
        """It is gone: what it had in hand is asked for again, unless that is what kills actors."""
        orphans: dict[str, ErrorInfo | None] = {}
        for id in self._placements[role].remove(name):
            self._in_hand.pop(id, None)
            self._died_with[id] += 1
            orphans[id] = None
            if self._died_with[id] >= MOST_DEATHS:
                del self._died_with[id]
                message = f"{id}: {MOST_DEATHS} actors have died with it in hand; the last was {name}"
                orphans[id] = ErrorInfo.of(ActorLost(message, id=id))
        if orphans:
            self.orphaned(orphans)

    def _may_move(self, event: End, member: Member) -> bool:
        """Whether an action failed only because this actor can reach no endpoint, and may go to one that can, having
        cost nothing. After a few moves it is the endpoints that cannot be reached."""
        lost_its_way = isinstance(event, Failed) and event.error.type == "Unreachable" and event.usage == NO_USAGE
        placement = self._placements[member.role]
        if not lost_its_way or not any(s.open for name, s in placement.seats.items() if name != member.name):
            return False
        self._died_with[event.id] += 1
        return self._died_with[event.id] < MOST_MOVES

    def _retire(self, member: Member) -> None:
        if not member.retired.is_set():
            _log.info("%s is on a node that is about to go: it gets nothing more", member.name)
            self._placements[member.role].close(member.name)
            member.retired.set()

    def _is_final(self, post: _Post, error: TTSError, failures: int) -> bool:
        """Whether trying again makes no sense: it is wrong for good, or nobody else does this work meanwhile."""
        if not post.first.done() and not isinstance(error, ActorFailed):
            return True
        if isinstance(error, UsageError | ClusterMismatch):
            return True
        peers = any(member.role == post.role for member in self._members.values()) and post.first.done()
        return not peers and (failures >= self._spec.most_failures or isinstance(error, ClusterTooSmall))

    def _give_up(self, post: _Post, error: TTSError, failures: int) -> None:
        if isinstance(error, ActorFailed):
            error = ActorFailed(f"{post.name} died at its start {failures} times in a row: {error.message}")
        if post.first.done():
            self._failed = error
            self.fail(error)
            return
        _log.warning("%s", error.message)  # at the start of a run it ends it; at a node that came later, only its post
        post.first.set_exception(error)

    async def _watch(self) -> None:
        """Mind nodes that come, drain and go."""
        while True:
            await asyncio.sleep(NODES_EVERY_S)
            try:
                await self._post_all(await asyncio.to_thread(connect.nodes))
            except Exception as error:  # the cluster's head does not answer: its actors may go on all the same
                _log.warning("cannot see the cluster's nodes: %s", error)
            self._check_posts()
            self.looked()

    def held(self) -> set[str]:
        """Ids of everything that an actor has in hand, or that waits for one."""
        return {id for placement in self._placements.values() for id in placement} | {
            id for waiting in self._waiting.values() for id in waiting
        }

    def _check_posts(self) -> None:
        """Work that waits for a kind of actor for which no node is left cannot wait for ever."""
        for role, waiting in self._waiting.items():
            if not waiting or any(post.role == role and not post.closed for post in self._posts):
                self._nobody_since.pop(role, None)
                continue
            since_s = self._nobody_since.setdefault(role, time.monotonic())
            if time.monotonic() - since_s > self._spec.start_timeout_s:
                self._failed = ClusterTooSmall(
                    f"for {self._spec.start_timeout_s:g} s no node could hold a {role}; the cluster has "
                    f"{connect.resources()}. Add nodes and repeat the command to go on",
                )
                self.fail(self._failed)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tokens_of(action: Work) -> int:
    request = action.request if isinstance(action, Generate | Verify) else None
    return request.sampling.token_limit if request is not None else 0
