"""Automatic batching: write the computation of one sentence or tree, and run those of many in few calls.

On-the-fly operation batching in dynamic computation graphs. Neubig, Goldberg, Dyer. NIPS 2017 (arXiv:1705.07860).

`lazy` records a call and runs nothing. `evaluate` runs the recorded calls. Calls with the same signature are stacked
and run as one call:

    signature(node) = (operation, shapes and dtypes of its inputs)
    depth(node)     = 1 + the greatest depth of its inputs, 0 for tensors
    by depth:   run the nodes of depth 1, then those of depth 2, ..; one call for each signature
    by agenda:  until all have run, run all ready nodes of the operation whose nodes have the smallest average depth

An operation is a module, its method or a function. It owns its parameters, so equal operations share them.
Gradients are torch's: the batched calls are ordinary calls.

Differs: a node may be a whole recurrent cell, while DyNet's nodes are single products, sums and so on. The average
depth is that of an operation, because the shapes of inputs are only known when the inputs have run; DyNet derives them
before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captioning.errors import InputError

Operation = Callable[..., Tensor]
"""Maps stacked inputs, (B, ...) each, to a stacked result (B, ...). It treats each of the B rows by itself."""


@dataclass(eq=False, slots=True)
class Node:
    """A recorded call.

    Attributes:
        operation: what to call.
        inputs: its arguments for one row: tensors, or nodes whose values they are.
        depth: the number of calls on the longest path to this one, itself included.
        batch: the result of the batched call, (B, ...); None until the node has run.
        row: the node's row in `batch`.
    """

    operation: Operation
    inputs: tuple[Node | Tensor, ...]
    depth: int = field(init=False)
    batch: Tensor | None = field(init=False, default=None)
    row: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.depth = 1 + max((node.depth for node in self.nodes), default=0)

    @property
    def nodes(self) -> list[Node]:
        """The inputs that are nodes."""
        return [x for x in self.inputs if isinstance(x, Node)]

    @property
    def value(self) -> Tensor:
        """The result of the call, without the dimension of rows.

        Raises:
            InputError: the node has not run.
        """
        if self.batch is None:
            raise InputError("the node has no value yet; call evaluate first")
        return self.batch[self.row]


Schedule = Callable[[Sequence[Node]], Iterator[list[Node]]]
"""Puts nodes in groups of one operation. All inputs of a group's nodes have run before the next group is asked for."""


def lazy(operation: Operation, *inputs: Node | Tensor) -> Node:
    """Record a call of an operation for one row.

    Args:
        operation: see `Operation`.
        inputs: its arguments without the dimension of rows. Nodes stand for their values.
    """
    return Node(operation, inputs)


def by_depth(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Group nodes by depth and operation, the smallest depth first."""
    groups = defaultdict[tuple[int, Operation], list[Node]](list)
    for node in nodes:
        groups[node.depth, node.operation].append(node)
    for key in sorted(groups, key=lambda key: key[0]):
        yield groups[key]


def by_agenda(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Group all ready nodes of the operation whose nodes have the smallest average depth, until none is left."""
    own, total = Counter(node.operation for node in nodes), Counter[Operation]()
    missing, successors = dict[Node, int](), defaultdict[Node, list[Node]](list)
    agenda = defaultdict[Operation, list[Node]](list)
    for node in nodes:
        total[node.operation] += node.depth
        before = [x for x in node.nodes if x.batch is None]
        missing[node] = len(before)
        for x in before:
            successors[x].append(node)
        if not before:
            agenda[node.operation].append(node)
    while agenda:
        ready = agenda.pop(min(agenda, key=lambda operation: total[operation] / own[operation]))
        yield ready
        for successor in (after for node in ready for after in successors[node]):
            missing[successor] -= 1
            if not missing[successor]:
                agenda[successor.operation].append(successor)


def evaluate(nodes: Sequence[Node], schedule: Schedule = by_agenda) -> Tensor:
    """Run the recorded calls that some nodes need, except those that have run before.

    Args:
        nodes: N nodes whose values have one shape.
        schedule: `by_agenda` or `by_depth`.

    Returns:
        Their values, (N, ...).

    Raises:
        InputError: `nodes` is empty, its values differ in shape or dtype, or an operation does not return one row for
            each row.
    """
    if not nodes:
        raise InputError("there is no node to evaluate; give at least one")
    for group in schedule(_waiting(nodes)):
        same = defaultdict[Hashable, list[Node]](list)  # the group's nodes by signature
        for node in group:
            same[tuple(_kind(x) for x in node.inputs)].append(node)
        for batch in same.values():
            _run(batch)
    if len({_kind(node) for node in nodes}) > 1:
        raise InputError("the nodes' values differ in shape or dtype; evaluate those of one shape together")
    return _stacked(nodes)


def _waiting(nodes: Sequence[Node]) -> list[Node]:
    """Find the nodes that have not run among some nodes and all that they need; no recursion, as chains are long."""
    found, stack = dict[Node, None](), list(nodes)
    while stack:
        node = stack.pop()
        if node.batch is None and node not in found:
            found[node] = None
            stack.extend(node.nodes)
    return list(found)


def _kind(x: Node | Tensor) -> tuple[torch.Size, torch.dtype]:
    """Return the shape and dtype of an input without the dimension of rows."""
    if isinstance(x, Tensor):
        return x.shape, x.dtype
    assert x.batch is not None
    return x.batch.shape[1:], x.batch.dtype


def _run(nodes: Sequence[Node]) -> None:
    """Run nodes of one signature as one call."""
    operation = nodes[0].operation
    result = operation(*(_stacked(column) for column in zip(*(node.inputs for node in nodes), strict=True)))
    if result.dim() == 0 or len(result) != len(nodes):
        raise InputError(
            f"{getattr(operation, '__name__', type(operation).__name__)} returned shape {tuple(result.shape)} for "
            f"{len(nodes)} rows; an operation must return one row for each row"
        )
    for row, node in enumerate(nodes):
        node.batch, node.row = result, row


def _stacked(inputs: Sequence[Node | Tensor]) -> Tensor:
    """Stack values of one shape, (N, ...), by at most three calls: rows are taken from the batches that hold them."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if len(tensors) == len(inputs):
        return torch.stack(tensors)
    batches = {id(x.batch): x.batch for x in inputs if isinstance(x, Node) and x.batch is not None}
    starts, start = dict[int, int](), len(tensors)
    for key, batch in batches.items():
        starts[key], start = start, start + len(batch)
    number = iter(range(len(tensors)))
    rows = [next(number) if isinstance(x, Tensor) else starts[id(x.batch)] + x.row for x in inputs]
    parts = [*([torch.stack(tensors)] if tensors else ()), *batches.values()]
    everything = parts[0] if len(parts) == 1 else torch.cat(parts)
    if rows == list(range(len(everything))):
        return everything
    return everything.index_select(0, torch.tensor(rows, device=everything.device))
