"""An exported folder, uploaded to the Hugging Face hub."""

from pathlib import Path

from jaxft.errors import UserError
from jaxft.export.card import FILE
from jaxft.models.weights.hub import reasons

LOG_IN = "Log in by `hf auth login`, or set HF_TOKEN to a token that may write."


def push(folder: Path, repository: str, private: bool = False, revision: str = "") -> str:
    """Upload all files of an exported folder as one commit; make the repository if it is not there.

    Args:
      folder: as `jaxft export` wrote it.
      repository: `NAME` or `OWNER/NAME`.
      private: make a new repository private.
      revision: the branch, made if it is not there; "" is the main one.

    Returns:
      The address of the commit.

    Raises:
      UserError: no exported folder; huggingface_hub is missing; no token; the hub refuses or cannot
        be reached.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"{folder} holds no {FILE}", hint="DIR is a folder of `jaxft export`.")
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            "huggingface_hub is not installed", hint="Install it: pip install 'jaxft[hub]'."
        ) from error
    if not huggingface_hub.get_token():
        raise UserError("There is no token for the Hugging Face hub", hint=LOG_IN)
    hub = huggingface_hub.HfApi(library_name="jaxft")
    try:
        made = hub.create_repo(repository, private=private, exist_ok=True).repo_id
        if revision:
            hub.create_branch(made, branch=revision, exist_ok=True)
        done = hub.upload_folder(
            repo_id=made,
            folder_path=folder,
            revision=revision or None,
            commit_message="Upload a model by jaxft",
        )
    except Exception as error:  # the library that it speaks HTTP by changes with its version
        title = f"{folder} cannot be pushed to {repository}"
        raise UserError(title, reasons(error), LOG_IN) from error
    return str(done.commit_url)
