"""The parts of `empathy_gym.agents.trainers.ppo_seq2seq`, PPO for encoder-decoder models such as T5."""
