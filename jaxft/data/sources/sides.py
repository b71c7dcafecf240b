"""What the splits of a data set are called, by those who made it."""

TRAIN_NAMES = ("train", "training")
VALID_NAMES = ("valid", "val", "validation")
TEST_NAMES = ("test",)
