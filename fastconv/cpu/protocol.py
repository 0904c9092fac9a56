"""What compiled functions of users know of fastconv: words at fixed places, all of 64 bits.

Three things are compiled into a user's function: the name of one block of memory, `SYMBOL`; the
places there of the addresses of three functions, `FIND`, `RUN` and `LARGE`; and the places of what
it exchanges with them. If it is kept on disk, `fastconv.cpu.witness` sees to it that no other
version of this package loads it: machine code that looks for a name that is gone would end the
process. Should it be loaded all the same, the words of its calls tell (see `forms.key`), and
calling it is an error.
"""

SYMBOL = "fastconv_nopython_2"
FORMER = "fastconv_nopython_1"  #: whose calls are refused: data without ANSWER

# The block.
FIND = 0  #: (block, length, schema, characters): ANSWER gets the address of an entry, or an error
RUN = 1  #: (entry, data) -> 0, or 1 and an error
LARGE = 2  #: bytes -> the address of Numba's record of new memory, or 0: for results of 1 MiB on
LARGE_BYTES = 1 << 20
# The rest of it is for this package's own functions.
TABLE = 3  #: the address of the table of known calls
MISSING = 4  #: asks Python for an entry, and is answered as by `FIND`
WORK = 5  #: asks Python to run an entry, or to start threads for it: ANSWER gets what follows
VARIABLE = 6  #: the address of the context variable that holds how to plan
TOLD = 7  #: the address of `options.told`: whether to ask that variable, and what holds without it
ALLOCATOR = 8  #: from here on: what Numba calls an external allocator
WORKSPACES = 16  #: from here on: a pool of `spaces`
MOST_WORKSPACES = 16
RESULTS = 40  #: from here on: the same for large results
MOST_RESULTS = 64
STRIPES = 112  #: from here on: in a cache line each, counts of calls under way
MOST_STRIPES = 32
LINE = 8  # words of a cache line
STATE_WORDS = STRIPES + MOST_STRIPES * LINE

# A call: two words, the words that tell it from others, and behind them its data.
SCHEMA = 0  #: a hash of all that the types of the arguments tell
PLANNING = 1  #: what `options` tell
FIRST = 2  #: shapes and strides of the arrays, and the values of the other arguments
# Its data. Addresses of the operands, and of the result, which is 0 unless it was given.
X, W, Y, BIAS = range(4)
WORKSPACE = 4
CALLER = 5  #: `HOLDS_LOCK`, or `STRANGER`, or 0
ERROR = 6  #: the place of the error's type in `ERRORS`: at first `INTERRUPTED`
MESSAGE = 7  #: the address of a string, with a reference to it; 0 where there is none
ANSWER = 8  #: what was asked for last; 0 with an error
DATA_WORDS = 9

HOLDS_LOCK = 1  #: the calling thread holds the interpreter's lock
STRANGER = 2  #: Python does not know the calling thread, as it does not know those of a `prange`

# An entry: a plan that is ready.
SHAPE, STRIDES, MOST_AXES = 0, 5, 5  #: of the result
BYTES = 10  #: of the result
# The rest of it is for this package's own functions.
TABLE_OF_STEPS, STEPS = 11, 12
SPACE = 13  #: bytes of workspace
ZEROS = 14  #: the address of what stands for a bias that is not given
HOW = 15  #: `ALONE`, `THREADS` or `PYTHON`
EXTENTS = 16  #: from here on: for X, W, Y, BIAS, bytes from its address to its begin and its end
WORDS, KEY = 24, 25  #: how many words tell this call from others, and these words

ALONE = 0  #: on the calling thread
THREADS = 1  #: on several threads, if the caller may start them
PYTHON = 2  #: by Python

# What `WORK` is answered.
FAILED = 0  #: the data tell of an error
UNDONE = 1  #: the caller is to run the entry on its own thread
DONE = 2

ERRORS = (TypeError, ValueError, MemoryError, RuntimeError, KeyboardInterrupt)
# Python may be interrupted before the first line that could catch anything. No answer and no error
# of its own then stand in the data.
INTERRUPTED = ERRORS.index(KeyboardInterrupt)
STARVED = ERRORS.index(MemoryError)
