"""Names the topics that nobody is owed mails of, as mails and pages write them."""

from mail.values import Topic

TOPICS: dict[Topic, str] = {
    Topic.MODELS: "news of models that you voted for or use",
    Topic.SPENDING: "forecasts of what you spend",
    Topic.WELCOME: "greetings in new accounts",
}
