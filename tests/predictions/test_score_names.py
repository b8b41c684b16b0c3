"""Names of scores."""

from nextvit.predictions.score_names import display_name, main_score


def test_scores_have_names_for_people():
    assert display_name("mean_ap_score") == "mean AP"
    assert display_name("exact_match_score") == "exact match"


def test_the_main_score_is_the_first_whether_of_an_evaluation_or_of_an_epoch():
    assert main_score({"mean_ap_score": 1.0, "micro_f1_score": 2.0, "loss": 3.0}) == "mean_ap_score"
    assert main_score({"epoch": 1, "val_top1_score": 50.0, "val_loss": 1.0}) == "top1_score"
